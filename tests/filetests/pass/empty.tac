; test: pass empty
; Of what is joined the empty part is left out; the product of no numbers is 1; what is empty itself is known.
graph g {
  %x: f32[2,3] = input
  %e: f32[2,0] = input
  %c: f32[2,3] = concat(%x, %e) axis=1
  %r: f32[2,1] = reduce(%e) prod axes=[1] keep_dims
  %y: f32[2,3] = pointwise(%c, %r) {mul($0, $1)}
  %z: f32[0,2] = transpose(%e) perm=[1,0]
  output "y" %y
  output "z" %z
}
; expect:
graph g {
  %x: f32[2,3] = input "x"
  %e: f32[2,0] = input "e"
  %r: f32[] = const {1.0}
  %z: f32[0,2] = const {}
  %c: f32[2,3] = concat(%x) axis=1
  %r_1: f32[2,1] = expand(%r) shape=[2,1] "r"
  %y: f32[2,3] = pointwise(%c, %r_1) {mul($0, $1)}
  output "y" %y
  output "z" %z
}
