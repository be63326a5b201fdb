; test: error
graph g {
  %x: f32[1048576,1048576] = input
  %c: f32[1048576,1048576] = const fill 0.0
}
; expect:
line 4, column 36: found sizes [1048576, 1048576], expected at most 1073741824 bytes in all constants of this form
