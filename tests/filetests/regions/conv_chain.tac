; test: regions
; Each convolution takes the pointwise work behind it; the residual is an epilogue operand.
graph g {
  %x: f32[1,4,8,8] = input
  %w: f32[4,4,3,3] = const fill 0.5
  %u: f32[4,4,3,3] = const fill 0.25
  %b: f32[4] = const {1.0, 2.0, 3.0, 4.0}
  %c1: f32[1,4,8,8] = conv(%x, %w, %b) pads=[(1,1),(1,1)]
  %r1: f32[1,4,8,8] = pointwise(%c1) {relu($0)}
  %c2: f32[1,4,8,8] = conv(%r1, %u, %b) pads=[(1,1),(1,1)]
  %s: f32[1,4,8,8] = pointwise(%c2, %x) {add($0, $1)}
  %y: f32[1,4,8,8] = pointwise(%s) {relu($0)}
  output "y" %y
}
; expect:
conv [c1 r1]: conv pads=[(1,1),(1,1)] (f32[1,4,8,8], *f32[4,4,3,3], *f32[4,1,1]) -> f32[1,4,8,8] then {relu(add($0, $1))}
conv [c2 s y]: conv pads=[(1,1),(1,1)] (f32[1,4,8,8], *f32[4,4,3,3], *f32[4,1,1], f32[1,4,8,8]) -> f32[1,4,8,8] then {relu(add(add($0, $1), $2))}
