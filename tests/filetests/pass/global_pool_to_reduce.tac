; test: pass global_pool_to_reduce
; A window over everything is a reduction.
graph g {
  %x: f32[2,3,4,5] = input
  %a: f32[2,3,1,1] = pool(%x) average window=[4,5]
  %b: f32[2,3,1,1] = pool(%x) max window=[4,5] strides=[2,2]
  %c: f32[2,3,1,2] = pool(%x) max window=[4,4]
  output "a" %a
  output "b" %b
  output "c" %c
}
; expect:
graph g {
  %x: f32[2,3,4,5] = input "x"
  %b: f32[2,3,1,1] = reduce(%x) max axes=[2,3] keep_dims
  %c: f32[2,3,1,2] = pool(%x) max window=[4,4]
  %a: f32[2,3,1,1] = reduce(%x) mean axes=[2,3] keep_dims
  output "a" %a
  output "b" %b
  output "c" %c
}
