; test: error
graph g {
  %x: f32[2] = input
  %x: f32[2] = input "other"
}
; expect:
line 4, column 3: found `%x`, expected a value that is not defined above
