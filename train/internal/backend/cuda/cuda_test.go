//go:build cuda

package cuda

import (
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
)

// Every operation agrees with the CPU, by the kernel for products, by cuBLAS,
// and with factors rounded for tensor cores.
func TestCompare(t *testing.T) {
	for name, o := range map[string]Options{"own kernel": {BLAS: "none"}, "cuBLAS": {}, "tensor cores": {TensorCores: true}} {
		t.Run(name, func(t *testing.T) {
			checks, info, err := Compare(o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, cuBLAS %s", info.Name, info.BLAS)
			if len(checks) < 30 {
				t.Errorf("only %d operations were compared", len(checks))
			}
			for _, c := range checks {
				if !c.OK {
					t.Errorf("%s: apart by %.2g of the largest, allowed %.2g", c.Name, c.Apart, c.Allowed)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	b, _, err := New(Options{BLAS: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Alloc(1 << 40); err == nil || !strings.Contains(err.Error(), "are free") {
		t.Errorf("more memory than there is: %v", err)
	}
	if _, err := b.Frozen(dtype.F64, make([]byte, 8)); err == nil {
		t.Error("float64 weights are taken")
	}
	if _, _, err := New(Options{Device: 99}); err == nil {
		t.Error("GPU 99 is opened")
	}
	if _, _, err := New(Options{BLAS: "/none/such.so"}); err == nil || !strings.Contains(err.Error(), "/none/such.so") {
		t.Errorf("missing cuBLAS: %v", err)
	}
	mem, err := b.Alloc(4)
	if err != nil {
		t.Fatal(err)
	}
	b.Free(mem)
	b.Read(make([]float32, 4), backend.Dense(mem, 1, 4))
	if b.Err() == nil {
		t.Error("freed memory is read")
	}
}
