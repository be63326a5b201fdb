; test: pass norm_from_steps
; The root mean square is a norm; a root that something else reads stays.
graph g {
  %x: f32[2,8] = input
  %q: f32[2,8] = pointwise(%x) {mul($0, $0)}
  %v: f32[2,1] = reduce(%q) mean axes=[1] keep_dims
  %r: f32[2,1] = pointwise(%v) {pow(add($0, 0.00001:f32), -0.5:f32)}
  %y: f32[2,8] = pointwise(%x, %r) {mul($0, $1)}
  %z: f32[2,8] = input
  %q2: f32[2,8] = pointwise(%z) {mul($0, $0)}
  %v2: f32[2,1] = reduce(%q2) mean axes=[1] keep_dims
  %r2: f32[2,1] = pointwise(%v2) {pow(add($0, 0.00001:f32), -0.5:f32)}
  %y2: f32[2,8] = pointwise(%z, %r2) {mul($0, $1)}
  output "y" %y
  output "y2" %y2
  output "root" %r2
}
; expect:
graph g {
  %x: f32[2,8] = input "x"
  %z: f32[2,8] = input "z"
  %q2: f32[2,8] = pointwise(%z) {mul($0, $0)}
  %v2: f32[2,1] = reduce(%q2) mean axes=[1] keep_dims
  %r2: f32[2,1] = pointwise(%v2) {pow(add($0, 1e-5:f32), -0.5:f32)}
  %y2: f32[2,8] = pointwise(%z, %r2) {mul($0, $1)}
  %y: f32[2,8] = rms_norm(%x) axis=1 epsilon=1e-5
  output "y" %y
  output "y2" %y2
  output "root" %r2
}
