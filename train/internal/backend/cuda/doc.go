// Package cuda is the backend on NVIDIA GPUs: kernels.cu as embedded PTX,
// launched through gorgonia.org/cu, and cuBLAS opened at run time. It is built
// under the tag cuda only, because importing cu ends a process on a machine
// without a GPU. Without the tag New says so.
//
// The directory sim holds a simulator of the driver, by which the same path
// from Go to the kernels runs and is tested on machines without a GPU; see
// docs/gpu.md.
package cuda

// Options say which GPU is used, and how.
type Options struct {
	Device int // number of the GPU
	// BLAS is the path of cuBLAS. Empty, it is looked for; "none" takes the
	// kernel of this package, which is slow.
	BLAS string
	// TensorCores rounds activations to BF16 for products with weights of the
	// base that are BF16. Sums stay float32.
	TensorCores bool
}

// Info describes a GPU.
type Info struct {
	Name          string
	Memory, Free  int64 // bytes
	Major, Minor  int   // compute capability
	DriverVersion int   // as 12040 for CUDA 12.4
	BLAS          string
}
