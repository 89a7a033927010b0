# Writes the concatenated Lua parts as a C byte array (OUT, PARTS), so that the binary carries them.
set(all "")
foreach(part ${PARTS})
  file(READ ${part} hex HEX)
  string(APPEND all "${hex}")
endforeach()
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${all}")
file(WRITE ${OUT} "#include <stddef.h>\nextern const unsigned char lua_library[];\nextern const size_t lua_library_size;\nconst unsigned char lua_library[] = {${bytes}0};\nconst size_t lua_library_size = sizeof lua_library - 1;\n")
