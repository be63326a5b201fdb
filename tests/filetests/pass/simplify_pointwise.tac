; test: pass simplify_pointwise
; Neutral constants go; a constant operand of one value moves into the expression.
graph g {
  %x: f32[4] = input
  %one: f32[4] = const fill 1.0
  %a: f32[4] = pointwise(%x, %one) {mul($0, $1)}
  %b: f32[4] = pointwise(%a) {add(mul($0, 1.0:f32), 0.0:f32)}
  %c: f32[4] = pointwise(%b) {neg(neg($0))}
  %d: f32[4] = pointwise(%c) {max($0, 0.0:f32)}
  output "y" %d
}
; expect:
graph g {
  %x: f32[4] = input "x"
  %a: f32[4] = pointwise(%x) {$0}
  %b: f32[4] = pointwise(%a) {$0}
  %c: f32[4] = pointwise(%b) {$0}
  %d: f32[4] = pointwise(%c) {max($0, 0.0:f32)}
  output "y" %d
}
