; test: canonicalize
; Batch normalisation (scale 2, shift -1) goes into the weights; ReLU stays behind.
graph g {
  %x: f32[N,1,4,4] = input
  %w: f32[2,1,1,1] = const {1.0, -3.0}
  %s: f32[2] = const fill 4.0
  %b: f32[2] = const fill 1.0
  %m: f32[2] = const fill 1.0
  %v: f32[2] = const fill 4.0
  %c: f32[N,2,4,4] = conv(%x, %w) "conv"
  %n: f32[N,2,4,4] = batch_norm(%c, %s, %b, %m, %v) epsilon=0.0
  %y: f32[N,2,4,4] = pointwise(%n) {relu($0)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[N,1,4,4] = input "x"
  %w: f32[2,1,1,1] = const {2.0, -6.0}
  %conv.bias: f32[2] = const fill -1.0
  %conv: f32[N,2,4,4] = conv(%x, %w, %conv.bias)
  %y: f32[N,2,4,4] = pointwise(%conv) {relu($0)}
  output "y" %y
}
