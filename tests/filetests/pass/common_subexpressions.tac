; test: pass common_subexpressions
; Equal nodes of equal operands are computed once, constants by value.
graph g {
  %x: f32[2] = input
  %k: f32[2] = const {1.0, 2.0}
  %l: f32[2] = const {1.0, 2.0}
  %a: f32[2] = pointwise(%x, %k) {add($0, $1)}
  %b: f32[2] = pointwise(%x, %l) {add($0, $1)}
  %c: f32[2] = pointwise(%a, %b) {mul($0, $1)}
  output "y" %c
}
; expect:
graph g {
  %x: f32[2] = input "x"
  %k: f32[2] = const {1.0, 2.0}
  %a: f32[2] = pointwise(%x, %k) {add($0, $1)}
  %c: f32[2] = pointwise(%a, %a) {mul($0, $1)}
  output "y" %c
}
