; test: pass batch_norm_to_affine
; scale 2 / sqrt(variance 4) = 1; shift = 1 - mean 3 * 1 = -2. scale 3 / sqrt(9) = 1; 0 - 5 = -5.
graph g {
  %x: f32[N,2,8,8] = input
  %s: f32[2] = const {2.0, 3.0}
  %b: f32[2] = const {1.0, 0.0}
  %m: f32[2] = const {3.0, 5.0}
  %v: f32[2] = const {4.0, 9.0}
  %y: f32[N,2,8,8] = batch_norm(%x, %s, %b, %m, %v) epsilon=0.0
  output "y" %y
}
; expect:
graph g {
  %x: f32[N,2,8,8] = input "x"
  %y.scale: f32[2,1,1] = const fill 1.0
  %y.shift: f32[2,1,1] = const {-2.0, -5.0}
  %y: f32[N,2,8,8] = pointwise(%x, %y.scale, %y.shift) {add(mul($0, $1), $2)}
  output "y" %y
}
