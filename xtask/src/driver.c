/* Stands in for libcuda.so.1 where there is no GPU: cuDNN then lists and compiles the engines that it makes at run time.
   Every other function of the driver fails with CUDA_ERROR_NO_DEVICE; the build adds them. Nothing can be launched. */

int cuDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}

/* Code is loaded to see whether it can be. */
int cuLibraryLoadData(void **library) {
  *library = (void *)4096;
  return 0;
}

int cuLibraryUnload(void *library) { return 0; }

int cuLibraryGetKernel(void **kernel) {
  *kernel = (void *)8192;
  return 0;
}

int cuKernelGetFunction(void **function) {
  *function = (void *)12288;
  return 0;
}

int cuKernelGetAttribute(int *value) {
  *value = 64;
  return 0;
}

int cuKernelSetAttribute(void) { return 0; }

int cuFuncGetAttribute(int *value) {
  *value = 64;
  return 0;
}

int cuFuncSetAttribute(void) { return 0; }
