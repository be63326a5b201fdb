// Stored numbers of the convolution and matrix product kernels, as vectors of floats.
// A type is 0: f32, 1: f16, 2: bf16.
#include "types.cuh"

template <int TYPE> struct Stored { static constexpr int BYTES = TYPE == 0 ? 4 : 2; };

/// The halves of a word as floats.
template <int TYPE> __device__ __forceinline__ void unpack(unsigned word, float& low, float& high) {
  if constexpr (TYPE == 1) {
    low = widen(f16{(u16)word});
    high = widen(f16{(u16)(word >> 16)});
  } else {
    low = __uint_as_float(word << 16);
    high = __uint_as_float(word & 0xffff0000u);
  }
}

template <int TYPE> __device__ __forceinline__ unsigned pack(float low, float high) {
  return TYPE == 1 ? narrow_pair<f16>(low, high) : narrow_pair<bf16>(low, high);
}

/// Loads V elements from element `at` on; their address is a multiple of their bytes, up to 16.
template <int TYPE, int V>
__device__ __forceinline__ void load_floats(float (&to)[V], const void* base, long long at) {
  constexpr int BYTES = V * Stored<TYPE>::BYTES;
  const char* from = (const char*)base + at * Stored<TYPE>::BYTES;
  if constexpr (TYPE == 0) {
    if constexpr (V % 4 == 0) {
#pragma unroll
      for (int i = 0; i < V; i += 4) {
        float4 f = *(const float4*)(from + i * 4);
        to[i] = f.x, to[i + 1] = f.y, to[i + 2] = f.z, to[i + 3] = f.w;
      }
    } else if constexpr (V == 2) {
      float2 f = *(const float2*)from;
      to[0] = f.x, to[1] = f.y;
    } else {
#pragma unroll
      for (int i = 0; i < V; i++) to[i] = ((const float*)from)[i];
    }
  } else if constexpr (BYTES % 16 == 0) {
#pragma unroll
    for (int i = 0; i < BYTES / 16; i++) {
      uint4 u = ((const uint4*)from)[i];
      unpack<TYPE>(u.x, to[8 * i], to[8 * i + 1]);
      unpack<TYPE>(u.y, to[8 * i + 2], to[8 * i + 3]);
      unpack<TYPE>(u.z, to[8 * i + 4], to[8 * i + 5]);
      unpack<TYPE>(u.w, to[8 * i + 6], to[8 * i + 7]);
    }
  } else if constexpr (BYTES == 8) {
    uint2 u = *(const uint2*)from;
    unpack<TYPE>(u.x, to[0], to[1]);
    unpack<TYPE>(u.y, to[2], to[3]);
  } else if constexpr (BYTES == 4) {
    unpack<TYPE>(*(const unsigned*)from, to[0], to[1]);
  } else {
#pragma unroll
    for (int i = 0; i < V; i++) {
      u16 u = ((const u16*)from)[i];
      to[i] = TYPE == 1 ? widen(f16{u}) : widen(bf16{u});
    }
  }
}

/// Stores V elements from element `at` on; their address is a multiple of their bytes, up to 16.
template <int TYPE, int V>
__device__ __forceinline__ void store_floats(const float (&from)[V], void* base, long long at) {
  constexpr int BYTES = V * Stored<TYPE>::BYTES;
  char* to = (char*)base + at * Stored<TYPE>::BYTES;
  if constexpr (TYPE == 0) {
    if constexpr (V % 4 == 0) {
#pragma unroll
      for (int i = 0; i < V; i += 4) {
        *(float4*)(to + i * 4) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
      }
    } else if constexpr (V == 2) {
      *(float2*)to = make_float2(from[0], from[1]);
    } else {
#pragma unroll
      for (int i = 0; i < V; i++) ((float*)to)[i] = from[i];
    }
  } else if constexpr (BYTES % 16 == 0) {
#pragma unroll
    for (int i = 0; i < BYTES / 16; i++) {
      uint4 u;
      u.x = pack<TYPE>(from[8 * i], from[8 * i + 1]);
      u.y = pack<TYPE>(from[8 * i + 2], from[8 * i + 3]);
      u.z = pack<TYPE>(from[8 * i + 4], from[8 * i + 5]);
      u.w = pack<TYPE>(from[8 * i + 6], from[8 * i + 7]);
      ((uint4*)to)[i] = u;
    }
  } else if constexpr (BYTES == 8) {
    *(uint2*)to = make_uint2(pack<TYPE>(from[0], from[1]), pack<TYPE>(from[2], from[3]));
  } else if constexpr (BYTES == 4) {
    *(unsigned*)to = pack<TYPE>(from[0], from[1]);
  } else {
#pragma unroll
    for (int i = 0; i < V; i++) {
      ((u16*)to)[i] = TYPE == 1 ? narrow<f16>(from[i]).bits : narrow<bf16>(from[i]).bits;
    }
  }
}

template <int TYPE> __device__ __forceinline__ float load_float(const void* base, long long at) {
  float v[1];
  load_floats<TYPE, 1>(v, base, at);
  return v[0];
}

/// Programmatic dependent launch, where there is such a thing: what comes before the wait may run before the kernel
/// before has ended, so it reads constants only.
__device__ __forceinline__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void let_dependents_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
