//go:build cuda

package cuda

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

typedef int (*create_t)(void **);
typedef int (*mode_t_)(void *, int);
typedef int (*gemm_t)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int, const void *, void *, int, int, int, int);

struct blas { void *library, *handle; gemm_t gemm; int version; };

static int blas_open(const char *path, struct blas *b) {
  b->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!b->library) return -1;
  create_t create = (create_t)dlsym(b->library, "cublasCreate_v2");
  mode_t_ mode = (mode_t_)dlsym(b->library, "cublasSetMathMode");
  int (*version)(void *, int *) = (int (*)(void *, int *))dlsym(b->library, "cublasGetVersion_v2");
  b->gemm = (gemm_t)dlsym(b->library, "cublasGemmEx");
  if (!create || !mode || !version || !b->gemm) return -2;
  int rc = create(&b->handle);
  if (rc) return rc;
  version(b->handle, &b->version);
  return mode(b->handle, 0); // CUBLAS_DEFAULT_MATH: float32 stays float32
}

static int blas_gemm(struct blas *b, int opa, int opb, int m, int n, int k, float beta, unsigned long long x, int type, int ldx, unsigned long long y, int ldy, unsigned long long c, int ldc) {
  float alpha = 1;
  return b->gemm(b->handle, opa, opb, m, n, k, &alpha, (void *)x, type, ldx, (void *)y, type, ldy, &beta, (void *)c, 0, ldc, 68, -1);
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"
)

// Constants of cuBLAS, the same in versions 11 to 13.
const (
	typeF32  = 0  // CUDA_R_32F
	typeBF16 = 14 // CUDA_R_16BF
)

// libraries are the names under which cuBLAS is looked for, the newest first.
var libraries = []string{
	"libcublas.so.13", "libcublas.so.12", "libcublas.so.11",
	"/usr/local/cuda/lib64/libcublas.so", "/usr/local/cuda/targets/x86_64-linux/lib/libcublas.so",
}

// blas is cuBLAS, opened at run time.
type blas struct {
	c    C.struct_blas
	name string
}

// openBLAS opens cuBLAS by its path, or looks for it.
func openBLAS(path string) (*blas, error) {
	names := libraries
	if path != "" {
		names = []string{path}
	}
	for _, name := range names {
		b := &blas{}
		s := C.CString(name)
		rc := C.blas_open(s, &b.c)
		C.free(unsafe.Pointer(s))
		if rc == 0 {
			b.name = fmt.Sprintf("%s, version %d", name, int(b.c.version))
			return b, nil
		}
		if rc != -1 {
			return nil, fmt.Errorf("cuBLAS %s: status %d", name, int(rc))
		}
	}
	return nil, fmt.Errorf("cuBLAS cannot be opened (%v): install it, or name its file with --cublas", names)
}

// gemm is a row-major product C = op(A)·op(B) or C += op(A)·op(B).
type gemm struct {
	ta, tb, add bool
	m, n, k     int
	a, b        factor
	c           cu.DevicePtr
	ldc         int
}

// gemm computes the transposes in column-major order: Cᵀ = op(B)ᵀ·op(A)ᵀ.
func (b *blas) gemm(g gemm) error {
	flag := map[bool]C.int{true: 1}
	kind, beta := typeF32, C.float(0)
	if g.a.bf16 {
		kind = typeBF16
	}
	if g.add {
		beta = 1
	}
	rc := C.blas_gemm(&b.c, flag[g.tb], flag[g.ta], C.int(g.n), C.int(g.m), C.int(g.k), beta,
		C.ulonglong(g.b.at), C.int(kind), C.int(g.b.stride), C.ulonglong(g.a.at), C.int(g.a.stride), C.ulonglong(g.c), C.int(g.ldc))
	if rc != 0 {
		return fmt.Errorf("cuBLAS: product of %d×%d and %d×%d: status %d", g.m, g.k, g.k, g.n, int(rc))
	}
	return nil
}
