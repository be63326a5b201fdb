; test: error
graph g {
  %x: f32[2,2] = input
  %y: f32[2,2] = transpose(%x)
  output "y" %y
}
; expect:
line 5, column 3: found `output`, expected attribute `perm`
