# Writes files behind one another as a C byte array (OUT, NAME, PARTS), so that the binary carries them.
set(all "")
foreach(part ${PARTS})
  file(READ ${part} hex HEX)
  string(APPEND all "${hex}")
endforeach()
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${all}")
file(WRITE ${OUT} "#include <stddef.h>\nextern const unsigned char ${NAME}[];\nextern const size_t ${NAME}_size;\nconst unsigned char ${NAME}[] = {${bytes}0};\nconst size_t ${NAME}_size = sizeof ${NAME} - 1;\n")
