//go:build cuda

package cuda

import (
	_ "embed"
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
)

//go:generate clang++-19 -x cuda --cuda-device-only --cuda-gpu-arch=sm_75 --cuda-feature=+ptx63 -nocudainc -nocudalib -ffp-contract=off -O3 -S kernels.cu -o kernels.ptx

//go:embed kernels.ptx
var ptx string

// A Backend computes on one GPU, in order. It is used by one caller at a time.
type Backend struct {
	o         Options
	ctx       cu.CUContext
	module    cu.Module
	functions map[string]cu.Function
	blas      *blas  // nil: the kernel b_gemm
	wide      buffer // a factor decoded or rounded for cuBLAS
	narrow    buffer
	ids       buffer // arrays of the host for one operation
	sums      buffer
	err       error // the first
}

var _ backend.Backend = (*Backend)(nil)

// New opens a GPU.
func New(o Options) (backend.Backend, Info, error) {
	b := &Backend{o: o, functions: map[string]cu.Function{}}
	info, err := b.open()
	if err != nil {
		return nil, info, err
	}
	return b, info, nil
}

func (b *Backend) open() (info Info, err error) {
	device, err := cu.GetDevice(b.o.Device)
	if err != nil {
		return info, fmt.Errorf("GPU %d: %w", b.o.Device, err)
	}
	if b.ctx, err = device.RetainPrimaryCtx(); err != nil {
		return info, fmt.Errorf("open GPU %d: %w", b.o.Device, err)
	}
	err = b.on(func() (err error) {
		if info, err = describe(device); err != nil {
			return err
		}
		if b.module, err = cu.LoadData(ptx + "\x00"); err != nil {
			return fmt.Errorf("load kernels: %w", err)
		}
		if b.o.BLAS != "none" {
			b.blas, err = openBLAS(b.o.BLAS)
		}
		return err
	})
	info.BLAS = "none: own kernel"
	if b.blas != nil {
		info.BLAS = b.blas.name
	}
	return info, err
}

func describe(device cu.Device) (info Info, err error) {
	if info.Name, err = device.Name(); err != nil {
		return info, err
	}
	if info.Major, err = device.Attribute(cu.ComputeCapabilityMajor); err != nil {
		return info, err
	}
	if info.Minor, err = device.Attribute(cu.ComputeCapabilityMinor); err != nil {
		return info, err
	}
	info.DriverVersion = cu.Version()
	info.Free, info.Memory, err = cu.MemInfo()
	return info, err
}

// on runs f with the context of the GPU, which belongs to a thread.
func (b *Backend) on(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cu.SetCurrentContext(b.ctx); err != nil {
		return err
	}
	return f()
}

// do runs an operation unless one has failed.
func (b *Backend) do(f func() error) {
	if b.err == nil {
		b.err = b.on(f)
	}
}

// Err waits for the GPU and returns the first error.
func (b *Backend) Err() error {
	b.do(cu.Synchronize)
	return b.err
}

// mem is memory of the GPU.
type mem struct {
	at     cu.DevicePtr
	n      int
	dtype  dtype.DType
	frozen bool
}

func (m *mem) Len() int           { return m.n }
func (m *mem) DType() dtype.DType { return m.dtype }

func (m *mem) size() int { return m.dtype.Bits() / 8 }

// Alloc returns n zeros.
func (b *Backend) Alloc(n int) (backend.Mem, error) {
	m := &mem{n: n, dtype: dtype.F32}
	if n == 0 {
		return m, b.err
	}
	if n < 0 || n > math.MaxInt/8 {
		return nil, fmt.Errorf("%d values do not fit in memory", n)
	}
	err := b.on(func() (err error) {
		if m.at, err = alloc(4 * n); err != nil {
			return err
		}
		return cu.MemsetD32(m.at, 0, int64(n))
	})
	return m, err
}

// alloc returns bytes of any content.
func alloc(bytes int) (cu.DevicePtr, error) {
	at, err := cu.MemAlloc(int64(bytes))
	if err != nil {
		free, total, _ := cu.MemInfo()
		return 0, fmt.Errorf("%d bytes of GPU memory, of which %d of %d are free: %w", bytes, free, total, err)
	}
	return at, nil
}

// codes are the dtypes of frozen weights in kernels.cu.
var codes = map[dtype.DType]int{dtype.F32: 0, dtype.BF16: 1, dtype.F16: 2}

// Frozen copies weights to the GPU in their dtype.
func (b *Backend) Frozen(d dtype.DType, data []byte) (backend.Mem, error) {
	if _, ok := codes[d]; !ok {
		return nil, fmt.Errorf("cannot compute with weights of dtype %s on a GPU", d)
	}
	m := &mem{n: len(data) * 8 / d.Bits(), dtype: d, frozen: true}
	if len(data) == 0 {
		return m, nil
	}
	err := b.on(func() (err error) {
		if m.at, err = alloc(len(data)); err != nil {
			return err
		}
		return cu.MemcpyHtoD(m.at, unsafe.Pointer(&data[0]), int64(len(data)))
	})
	return m, err
}

// Free gives memory back when the work that was queued is done.
func (b *Backend) Free(x backend.Mem) {
	m := x.(*mem)
	if m.at != 0 {
		b.do(func() error { return cu.MemFree(m.at) })
		m.at = 0
	}
}

// A buffer is memory of the GPU that grows.
type buffer struct {
	at    cu.DevicePtr
	bytes int
}

func (f *buffer) grow(bytes int) (cu.DevicePtr, error) {
	if bytes <= f.bytes {
		return f.at, nil
	}
	if f.bytes > 0 {
		if err := cu.MemFree(f.at); err != nil {
			return 0, err
		}
		f.bytes = 0
	}
	at, err := alloc(bytes)
	if err != nil {
		return 0, err
	}
	f.at, f.bytes = at, bytes
	return at, nil
}

// at returns the address of the first element of a matrix; 0 for the empty one.
func at(m backend.Mat) cu.DevicePtr {
	if m.Empty() {
		return 0
	}
	h := m.Mem.(*mem)
	return h.at + cu.DevicePtr(m.Off*h.size())
}

// values is at for float32 values.
func values(m backend.Mat) cu.DevicePtr {
	if !m.Empty() && m.Mem.(*mem).dtype != dtype.F32 {
		panic("cuda: operation on weights that must be decoded")
	}
	return at(m)
}

// writable is values for an output.
func writable(m backend.Mat) cu.DevicePtr {
	if !m.Empty() && m.Mem.(*mem).frozen {
		panic("cuda: write to frozen weights")
	}
	return values(m)
}

// code is the dtype of a matrix in kernels.cu.
func code(m backend.Mat) int {
	if m.Empty() {
		return 0
	}
	return codes[m.Mem.(*mem).dtype]
}

// contiguous reports whether rows follow each other without a gap.
func contiguous(m backend.Mat) bool { return m.Stride == m.Cols || m.Rows <= 1 }

func checkLen(got, want int) {
	if got != want {
		panic(fmt.Sprintf("cuda: %d values for %d", got, want))
	}
}

// same panics unless the matrices have one shape.
func same(ms ...backend.Mat) {
	for _, m := range ms[1:] {
		if m.Rows != ms[0].Rows || m.Cols != ms[0].Cols {
			panic(fmt.Sprintf("cuda: %d×%d matrix beside %d×%d", m.Rows, m.Cols, ms[0].Rows, ms[0].Cols))
		}
	}
}

// Write copies values of the host to a matrix.
func (b *Backend) Write(dst backend.Mat, src []float32) {
	checkLen(len(src), dst.Rows*dst.Cols)
	writable(dst)
	if len(src) == 0 {
		return
	}
	b.do(func() error {
		if contiguous(dst) {
			return cu.MemcpyHtoD(at(dst), unsafe.Pointer(&src[0]), int64(4*len(src)))
		}
		to, err := b.wide.grow(4 * len(src))
		if err != nil {
			return err
		}
		if err := cu.MemcpyHtoD(to, unsafe.Pointer(&src[0]), int64(4*len(src))); err != nil {
			return err
		}
		return b.elements("copy", len(src), at(dst), dst.Stride, to, dst.Cols, 0, dst.Rows, dst.Cols)
	})
}

// Read copies a matrix to the host, decoded.
func (b *Backend) Read(dst []float32, src backend.Mat) {
	checkLen(len(dst), src.Rows*src.Cols)
	if len(dst) == 0 {
		return
	}
	b.do(func() error {
		from := at(src)
		if code(src) != 0 || !contiguous(src) {
			to, err := b.wide.grow(4 * len(dst))
			if err != nil {
				return err
			}
			if err := b.elements("copy", len(dst), to, src.Cols, from, src.Stride, code(src), src.Rows, src.Cols); err != nil {
				return err
			}
			from = to
		}
		return cu.MemcpyDtoH(unsafe.Pointer(&dst[0]), from, int64(4*len(dst)))
	})
}

// upload puts integers of the host where a kernel can read them.
func (b *Backend) upload(ids []int32) (cu.DevicePtr, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	to, err := b.ids.grow(4 * len(ids))
	if err != nil {
		return 0, err
	}
	return to, cu.MemcpyHtoD(to, unsafe.Pointer(&ids[0]), int64(4*len(ids)))
}
