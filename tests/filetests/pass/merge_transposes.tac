; test: pass merge_transposes
; Two transposes are one; a transpose and its inverse become the identity, which another pass removes.
graph g {
  %x: f32[2,3,4,5] = input
  %a: f32[2,4,5,3] = transpose(%x) perm=[0,2,3,1]
  %b: f32[5,4,2,3] = transpose(%a) perm=[2,1,0,3]
  %c: f32[2,3,4,5] = transpose(%a) perm=[0,3,1,2]
  %d: f32[2,3,4,5] = pointwise(%c) {relu($0)}
  output "merged" %b
  output "undone" %d
}
; expect:
graph g {
  %x: f32[2,3,4,5] = input "x"
  %c: f32[2,3,4,5] = transpose(%x) perm=[0,1,2,3]
  %d: f32[2,3,4,5] = pointwise(%c) {relu($0)}
  %b: f32[5,4,2,3] = transpose(%x) perm=[3,2,0,1]
  output "merged" %b
  output "undone" %d
}
