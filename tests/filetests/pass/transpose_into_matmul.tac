; test: pass transpose_into_matmul
; A transpose of the last two axes is a flag of the product.
graph g {
  %a: f32[2,3,4] = input
  %b: f32[2,5,4] = input
  %t: f32[2,4,5] = transpose(%b) perm=[0,2,1]
  %y: f32[2,3,5] = matmul(%a, %t)
  output "y" %y
}
; expect:
graph g {
  %a: f32[2,3,4] = input "a"
  %b: f32[2,5,4] = input "b"
  %y: f32[2,3,5] = matmul(%a, %b) trans_b
  output "y" %y
}
