//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"unsafe"

	"gorgonia.org/cu"
)

const (
	team       = 128     // threads of a block of a kernel with barriers: TEAM in kernels.cu
	threads    = 256     // of a block of the others
	mostBlocks = 1 << 16 // of a grid; kernels loop
)

// elements launches a kernel with a thread for each of n elements.
func (b *Backend) elements(name string, n int, args ...any) error {
	return b.launch(name, (n+threads-1)/threads, threads, args)
}

// blocks launches a kernel with a block for each of n rows.
func (b *Backend) blocks(name string, n int, args ...any) error {
	return b.launch(name, n, team, args)
}

// launch queues a kernel. Arguments are addresses, integers, booleans and
// float32 values; each fills a slot of eight bytes, from which the driver
// takes as many as the kernel's parameter has.
func (b *Backend) launch(name string, blocks, threads int, args []any) error {
	if blocks <= 0 {
		return nil
	}
	f, ok := b.functions[name]
	if !ok {
		var err error
		if f, err = b.module.Function(name); err != nil {
			return fmt.Errorf("kernel %s: %w", name, err)
		}
		b.functions[name] = f
	}
	slots, params := make([]uint64, len(args)), make([]unsafe.Pointer, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case cu.DevicePtr:
			slots[i] = uint64(a)
		case int:
			slots[i] = uint64(a)
		case uint64:
			slots[i] = a
		case uint32:
			slots[i] = uint64(a)
		case float32:
			slots[i] = uint64(math.Float32bits(a))
		case bool:
			if a {
				slots[i] = 1
			}
		default:
			panic(fmt.Sprintf("cuda: argument of type %T", a))
		}
		params[i] = unsafe.Pointer(&slots[i])
	}
	if err := f.Launch(min(blocks, mostBlocks), 1, 1, threads, 1, 1, 0, cu.NoStream, params); err != nil {
		return fmt.Errorf("kernel %s: %w", name, err)
	}
	return nil
}
