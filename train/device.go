package train

import (
	"fmt"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/backend/cpu"
	"github.com/loratool/loratool/train/internal/backend/cuda"
	"github.com/loratool/loratool/train/internal/model"
)

// A Device says what computes: the processor, or a GPU.
type Device struct {
	CUDA        bool
	GPU         int    // its number
	BLAS        string // path of cuBLAS; "": looked for, "none": a slow kernel in its place
	TensorCores bool   // GPU: products with BF16 weights in BF16, with float32 sums
	Exact       bool   // processor: products with BF16 weights in float32, without rounding activations to BF16
}

func (d Device) options() cuda.Options {
	return cuda.Options{Device: d.GPU, BLAS: d.BLAS, TensorCores: d.TensorCores}
}

// open opens the device of a run and makes sure that it has the memory for it.
func (d Device) open(desc *model.Desc, o *Options, base *checkpoint.Checkpoint) (backend.Backend, error) {
	if !d.CUDA {
		if err := enoughMemory(desc, o, base); err != nil {
			return nil, err
		}
		b := cpu.New(o.Workers)
		b.SetExact(d.Exact)
		return b, nil
	}
	b, info, err := cuda.New(d.options())
	if err != nil {
		return nil, err
	}
	e, err := estimate(desc, base.Size(), *o)
	if err != nil {
		return nil, err
	}
	if need := e.Memory(); need > info.Free {
		return nil, fmt.Errorf("training needs %s of GPU memory, and %s of %s are free: a smaller batch or max-len takes less",
			text.Bytes(need), text.Bytes(info.Free), text.Bytes(info.Memory))
	}
	return b, nil
}
