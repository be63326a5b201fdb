// What kernels that may start before the kernel before them has ended begin with.
#pragma once

// Lets the next kernel start, and waits until everything that kernels before this one wrote can be read. All threads
// call it before their first access to memory; so whoever waits for this kernel has waited for those before it too.
__device__ __forceinline__ void begin_kernel() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
