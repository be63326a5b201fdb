; test: error
graph g {
  %c: i8[2] = const {127, 128}
}
; expect:
line 3, column 27: found `128`, expected a value of type i8
