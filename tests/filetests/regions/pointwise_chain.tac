; test: regions
; A chain of pointwise nodes without an anchor is one region; softmax and matmul anchor their own.
graph g {
  %x: f32[4,8] = input
  %w: f32[8,8] = const fill 0.5
  %k: f32[8] = const {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}
  %a: f32[4,8] = pointwise(%x) {exp($0)}
  %b: f32[4,8] = pointwise(%a, %x) {mul($0, $1)}
  %m: f32[4,8] = matmul(%b, %w)
  %n: f32[4,8] = pointwise(%m, %k) {add($0, $1)}
  %y: f32[4,8] = softmax(%n) axis=1
  output "y" %y
}
; expect:
pointwise [a b]: pointwise {mul($0, exp($0))} (f32[4,8]) -> f32[4,8]
matmul [m n]: matmul  (f32[4,8], *f32[8,8], *f32[8]) -> f32[4,8] then {add($0, $1)}
softmax [y]: softmax axis=1 (f32[4,8]) -> f32[4,8]
