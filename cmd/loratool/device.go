package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/loratool/loratool/train"
)

// siblingName is the binary that is built with CUDA.
const siblingName = "loratool-cuda"

type deviceOptions struct {
	device    string
	gpu       int
	cublas    string
	precision string
}

func (o *deviceOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.device, "device", "cpu", "`device`: cpu, or cuda by loratool-cuda")
	f.IntVar(&o.gpu, "gpu", 0, "`number` of the GPU (cuda)")
	f.StringVar(&o.cublas, "cublas", "", "`path` of libcublas, or none for a slow kernel in its place (cuda; default: looked for)")
	f.StringVar(&o.precision, "precision", "", "`dtype` of products with BF16 weights: bf16, with activations rounded and float32 sums, or f32 (default: bf16 on the CPU, f32 on a GPU)")
}

// parse turns the flags into a device. Other flags of a device that is not
// taken have no effect, which is a mistake.
func (o *deviceOptions) parse(set func(string) bool) (train.Device, error) {
	switch {
	case o.device != "cpu" && o.device != "cuda":
		return train.Device{}, usagef("--device %q: expected cpu or cuda", o.device)
	case o.precision != "" && o.precision != "f32" && o.precision != "bf16":
		return train.Device{}, usagef("--precision %q: expected f32 or bf16", o.precision)
	case o.device == "cuda":
		return train.Device{CUDA: true, GPU: o.gpu, BLAS: o.cublas, TensorCores: o.precision == "bf16"}, nil
	}
	for _, name := range [...]string{"gpu", "cublas"} {
		if set(name) {
			return train.Device{}, usagef("--%s has no effect without --device cuda", name)
		}
	}
	return train.Device{Exact: o.precision == "f32"}, nil
}

// elsewhere reports whether another binary must run the command.
func (o *deviceOptions) elsewhere() bool { return o.device == "cuda" && !hasCUDA }

// A siblingExit is the exit status of loratool-cuda, which has said why.
type siblingExit int

func (e siblingExit) Error() string {
	return siblingName + " ended with status " + strconv.Itoa(int(e))
}

// runSibling runs loratool-cuda, beside this binary or in PATH, with the
// arguments of this process. Signals of the terminal reach both.
func runSibling() error {
	path, err := findSibling()
	if err != nil {
		return usagef("--device cuda: there is no %s beside this binary or in PATH; build it as docs/gpu.md says, or take --device cpu", siblingName)
	}
	c := exec.Command(path, os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = c.Run()
	const noLoader = 127 // the dynamic loader's status for a library that is missing
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		if e.ExitCode() == noLoader {
			return fmt.Errorf("%s cannot start: there is no NVIDIA driver (libcuda.so.1)", siblingName)
		}
		return siblingExit(max(e.ExitCode(), exitFailure))
	}
	return err
}

func findSibling() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), siblingName)
		if info, err := os.Stat(beside); err == nil && !info.IsDir() {
			return beside, nil
		}
	}
	return exec.LookPath(siblingName)
}
