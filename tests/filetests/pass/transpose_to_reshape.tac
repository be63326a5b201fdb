; test: pass transpose_to_reshape
; Only an axis of size 1 moves in the first; the second moves elements and stays.
graph g {
  %x: f32[1,5,3] = input
  %a: f32[5,1,3] = transpose(%x) perm=[1,0,2]
  %b: f32[1,3,5] = transpose(%x) perm=[0,2,1]
  output "a" %a
  output "b" %b
}
; expect:
graph g {
  %x: f32[1,5,3] = input "x"
  %b: f32[1,3,5] = transpose(%x) perm=[0,2,1]
  %a: f32[5,1,3] = reshape(%x) shape=[5,1,3]
  output "a" %a
  output "b" %b
}
