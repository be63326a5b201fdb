; test: pass residual_order
; The constant goes to the convolution, the residual last.
graph g {
  %x: f32[1,2,4,4] = input
  %r: f32[1,3,4,4] = input
  %w: f32[3,2,1,1] = const {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
  %k: f32[3,1,1] = const {0.1, 0.2, 0.3}
  %c: f32[1,3,4,4] = conv(%x, %w)
  %s: f32[1,3,4,4] = pointwise(%c, %r) {add($0, $1)}
  %y: f32[1,3,4,4] = pointwise(%s, %k) {add($0, $1)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[1,2,4,4] = input "x"
  %r: f32[1,3,4,4] = input "r"
  %w: f32[3,2,1,1] = const {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
  %k: f32[3,1,1] = const {0.1, 0.2, 0.3}
  %c: f32[1,3,4,4] = conv(%x, %w)
  %y: f32[1,3,4,4] = pointwise(%c, %k) {add($0, $1)}
  %s: f32[1,3,4,4] = pointwise(%y, %r) {add($0, $1)}
  output "y" %s
}
