; test: error
graph g {
  %x: f32[2] = input "x
; expect:
line 3, column 22: found a string without an end, expected a closing " on the line
