; test: pass transpose_between_reshapes
; Keys as torch's exporter turns them, heads of all batches together.
graph g {
  %x: f32[2,3,4,5] = input
  %m: f32[6,4,5] = reshape(%x) shape=[6,4,5]
  %t: f32[6,5,4] = transpose(%m) perm=[0,2,1]
  %y: f32[2,3,5,4] = reshape(%t) shape=[2,3,5,4]
  output "y" %y
}
; expect:
graph g {
  %x: f32[2,3,4,5] = input "x"
  %y: f32[2,3,5,4] = transpose(%x) perm=[0,1,3,2]
  output "y" %y
}
