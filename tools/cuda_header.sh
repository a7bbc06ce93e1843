#!/usr/bin/env bash
# Makes cuda.h for gorgonia.org/cu where no CUDA is installed, from the
# declarations that the module itself carries for its generator, and stubs for
# every driver function that the simulator does not have. The result is not
# committed: it derives from NVIDIA's header.
#
# usage: cuda_header.sh OUT_DIR
set -euo pipefail
out=$1
mkdir -p "$out"
dir=$(go mod download -json gorgonia.org/cu@v0.9.6 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
source="$dir/cmd/genlib/cuda.h"

# Functions whose plain name is the ABI of before CUDA 4 or 11; NVIDIA's header
# maps them the same way.
v2='cuDeviceTotalMem cuCtxCreate cuCtxDestroy cuCtxPopCurrent cuCtxPushCurrent cuModuleGetGlobal cuMemGetInfo cuMemAlloc
cuMemAllocPitch cuMemFree cuMemGetAddressRange cuMemAllocHost cuMemHostGetDevicePointer cuMemHostRegister cuMemcpyHtoD cuMemcpyDtoH
cuMemcpyDtoD cuMemcpyDtoA cuMemcpyAtoD cuMemcpyHtoA cuMemcpyAtoH cuMemcpyAtoA cuMemcpyHtoAAsync cuMemcpyAtoHAsync cuMemcpy2D
cuMemcpy2DUnaligned cuMemcpy3D cuMemcpyHtoDAsync cuMemcpyDtoHAsync cuMemcpyDtoDAsync cuMemcpy2DAsync cuMemcpy3DAsync cuMemsetD8
cuMemsetD16 cuMemsetD32 cuMemsetD2D8 cuMemsetD2D16 cuMemsetD2D32 cuArrayCreate cuArrayGetDescriptor cuArray3DCreate
cuArray3DGetDescriptor cuTexRefSetAddress cuTexRefGetAddress cuStreamDestroy cuEventDestroy cuLinkCreate cuLinkAddData cuLinkAddFile
cuDevicePrimaryCtxRelease cuDevicePrimaryCtxReset cuDevicePrimaryCtxSetFlags'

{
  echo '/* Made by tools/cuda_header.sh; do not commit. */'
  echo '#pragma once'
  printf '#include <%s>\n' stddef.h stdint.h stdlib.h
  echo '#define CUDA_VERSION 11000'
  echo '#define CUDAAPI'
  echo '#define CU_TRSF_READ_AS_INTEGER 1'
  echo '#define CU_TRSF_NORMALIZED_COORDINATES 2'
  for f in $v2; do echo "#define $f ${f}_v2"; done
  echo '#define cuTexRefSetAddress2D cuTexRefSetAddress2D_v3'
  sed -n '/^typedef uint32_t cuuint32_t/,$p' "$source"
} >"$out/cuda.h"

# 801 is CUDA_ERROR_NOT_SUPPORTED.
grep -oE '(^|CUresult )cu[A-Z][A-Za-z0-9_]+\(' "$source" | sed 's/.* //; s/(//' | sort -u | while read -r f; do
  name=$f
  case " $(echo $v2) " in *" $f "*) name=${f}_v2 ;; esac
  [[ $f == cuTexRefSetAddress2D ]] && name=cuTexRefSetAddress2D_v3
  echo "__attribute__((weak, visibility(\"default\"))) int $name(void) { return 801; }"
done >"$out/stubs.c"
