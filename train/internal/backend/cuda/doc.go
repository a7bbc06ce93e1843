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
	Name          string `json:"name"`
	Memory        int64  `json:"memory"` // bytes
	Free          int64  `json:"free"`
	Major         int    `json:"major"` // compute capability
	Minor         int    `json:"minor"`
	DriverVersion int    `json:"driver"` // as 12040 for CUDA 12.4
	BLAS          string `json:"cublas"`
}

// A Check is an operation that was run on the CPU and on the GPU.
type Check struct {
	Name    string  `json:"name"`
	Apart   float64 `json:"apart"` // of the largest value
	Allowed float64 `json:"allowed"`
	OK      bool    `json:"ok"`
}
