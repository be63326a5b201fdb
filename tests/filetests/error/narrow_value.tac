; test: error
graph g {
  %x: f8e4m3fn[2] = const {1.0, 0.3}
}
; expect:
line 3, column 33: found `0.3`, expected a value of type f8e4m3fn
