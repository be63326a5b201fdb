; test: canonicalize
; A bias added behind the sum goes into the convolution; the sum keeps its ReLU.
graph g {
  %x: f32[1,2,4,4] = input
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %k: f32[1,2,1,1] = const {0.5, -0.5}
  %c: f32[1,2,4,4] = conv(%x, %w)
  %s: f32[1,2,4,4] = pointwise(%c, %x) {add($0, $1)}
  %b: f32[1,2,4,4] = pointwise(%s, %k) {add($0, $1)}
  %y: f32[1,2,4,4] = pointwise(%b) {relu($0)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[1,2,4,4] = input "x"
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %c.bias: f32[2] = const {0.5, -0.5}
  %c: f32[1,2,4,4] = conv(%x, %w, %c.bias)
  %s: f32[1,2,4,4] = pointwise(%c, %x) {add($0, $1)}
  %y: f32[1,2,4,4] = pointwise(%s) {relu($0)}
  output "y" %y
}
