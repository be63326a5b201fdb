; test: canonicalize
; Layer normalisation as exporters before operator set 17 write it, with scale and bias.
graph g {
  %x: f32[2,4,8] = input
  %scale: f32[8] = const {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}
  %bias: f32[8] = const {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}
  %two: f32[] = const {2.0}
  %epsilon: f32[] = const {0.00001}
  %m: f32[2,4,1] = reduce(%x) mean axes=[2] keep_dims
  %d: f32[2,4,8] = pointwise(%x, %m) {sub($0, $1)}
  %q: f32[2,4,8] = pointwise(%d, %two) {pow($0, $1)}
  %v: f32[2,4,1] = reduce(%q) mean axes=[2] keep_dims
  %e: f32[2,4,1] = pointwise(%v, %epsilon) {add($0, $1)}
  %r: f32[2,4,1] = pointwise(%e) {sqrt($0)}
  %n: f32[2,4,8] = pointwise(%d, %r) {div($0, $1)}
  %s: f32[2,4,8] = pointwise(%n, %scale) {mul($0, $1)}
  %y: f32[2,4,8] = pointwise(%s, %bias) {add($0, $1)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[2,4,8] = input "x"
  %scale: f32[8] = const {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}
  %bias: f32[8] = const {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}
  %y: f32[2,4,8] = layer_norm(%x, %scale, %bias) axis=2 epsilon=1e-5
  output "y" %y
}
