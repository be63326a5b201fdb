// The epilogue of a row of V neighbouring outputs. The generated prelude defines
//   EPILOGUE_PARAMS     kernel parameters for the operands, each with a leading comma
//   EPILOGUE_ARGS       their names, each with a leading comma
//   EPILOGUE_LOADS      declares and loads what the expression reads, given V, at, column and image
//   EPILOGUE_VALUE(i)   the output of element i, given v[i]
//   OUTPUT_TYPE         type of the output
#include "mma_numbers.cuh"

/// Stores from element `to` of `y` on. `at`: index of the first output; `column`: its channel; `image`: its image;
/// `staged`: where an operand's elements lie that were copied beforehand.
template <int V>
__device__ __forceinline__ void finish_at(float (&v)[V], const void* staged, void* y, long long to, long long at,
                                          int column, int image EPILOGUE_PARAMS) {
  EPILOGUE_LOADS
  float out[V];
#pragma unroll
  for (int i = 0; i < V; i++) out[i] = EPILOGUE_VALUE(i);
  store_floats<OUTPUT_TYPE, V>(out, y, to);
}

template <int V>
__device__ __forceinline__ void finish(float (&v)[V], void* y, long long at, int column, int image EPILOGUE_PARAMS) {
  finish_at<V>(v, nullptr, y, at, at, column, image EPILOGUE_ARGS);
}
