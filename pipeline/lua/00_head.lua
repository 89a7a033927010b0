#!lua name=hookmesh_1
