// Package train trains adapters for decoders: LoRA and what it is compared
// with in Hu et al. 2021. It reads a base and token sequences and writes files
// that the other packages open; text, merging and the command line are not its
// business.
package train

import (
	"fmt"
	"math"
	"slices"

	"github.com/loratool/loratool/train/internal/data"
)

// A Sequence is one sample as token ids, a Source gives samples.
type (
	Sequence = data.Sequence
	Source   = data.Source
)

// A Method says what is trained.
type Method string

// The methods of Hu et al. 2021, section 5.1.
const (
	LoRA     Method = "lora"     // low-rank updates of linears
	Full     Method = "ft"       // every weight of the base
	BitFit   Method = "bitfit"   // every bias of the base
	PreEmbed Method = "preembed" // embeddings of special tokens
	PreLayer Method = "prelayer" // activations of special tokens in every block
	AdapterH Method = "adapterh" // two bottlenecks in every block
)

// Methods lists the methods.
var Methods = []Method{LoRA, Full, BitFit, PreEmbed, PreLayer, AdapterH}

// AllLinear as a target means every linear of the blocks.
const AllLinear = "all-linear"

// Update says how low-rank updates are made.
type Update struct {
	Rank    int
	Alpha   float64
	Targets []string // names or ends of paths of linears, AllLinear; none: as PEFT for the family
	Dropout float64
	RsLoRA  bool // scaling α/√r
	DoRA    bool
	Init    string // "default", "pissa", or "adapter" for the values of one, see Begin
}

// Special says how many special tokens a prefix method has, and how wide the
// bottlenecks of AdapterH are.
type Special struct {
	Prefix, Infix int
	Bottleneck    int
}

// Optimizer holds the numbers of AdamW.
type Optimizer struct {
	LR, WeightDecay     float64
	Beta1, Beta2, Eps   float64
	Clip                float64 // largest norm of the gradient; 0: any
	LoRAPlus            float64 // learning rate of B over that of A (Hayou et al. 2024)
	Schedule            Schedule
	Warmup, WarmupShare float64 // steps, or a share of them
}

// Loop says what a step reads and how many there are.
type Loop struct {
	Epochs     float64
	Steps      int // if not 0, in place of Epochs
	Batch      int // sequences of a micro-batch
	Accumulate int // micro-batches of a step
	MaxLen     int // tokens; longer samples are cut
	Pack       bool
	NoShuffle  bool
	Seed       uint64
	Smoothing  float64 // of labels
	StopAt     int     // stop after this step, to be resumed; 0: at the end
	SaveEvery  int     // steps between saves of the state; 0: at the end only
	EvalEvery  int
}

// Options of a run. Defaults gives those of PEFT and of the Hugging Face
// trainer.
type Options struct {
	Method Method
	Update
	Special
	Optimizer
	Loop
	Device  Device
	Workers int // goroutines
}

// Defaults returns the options of PEFT's LoraConfig (0.21) and of
// transformers' TrainingArguments (5.23), with MaxLen 1024.
func Defaults() Options {
	return Options{
		Method:    LoRA,
		Update:    Update{Rank: 8, Alpha: 8, Init: "default"},
		Special:   Special{Prefix: 8, Bottleneck: 8},
		Optimizer: Optimizer{LR: 5e-5, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Clip: 1, LoRAPlus: 1, Schedule: Linear},
		Loop:      Loop{Epochs: 3, Batch: 8, Accumulate: 1, MaxLen: 1024, Seed: 42, SaveEvery: 500},
	}
}

// Check returns what is wrong with the options.
func (o *Options) Check() error {
	if !slices.Contains(Methods, o.Method) {
		return fmt.Errorf("method %q: one of %v", o.Method, Methods)
	}
	if err := o.checkRanges(); err != nil {
		return err
	}
	switch {
	case math.IsNaN(o.Alpha) || math.IsInf(o.Alpha, 0):
		return fmt.Errorf("alpha is %g", o.Alpha)
	case o.DoRA && o.Dropout > 0:
		return fmt.Errorf("DoRA with dropout is not supported")
	case o.Init != "default" && o.Init != "pissa" && o.Init != "adapter":
		return fmt.Errorf("init %q: default, pissa or adapter", o.Init)
	case o.Init == "pissa" && o.Alpha <= 0:
		return fmt.Errorf("alpha is %g, the init of PiSSA takes one above 0", o.Alpha)
	case o.Init == "pissa" && o.DoRA:
		return fmt.Errorf("DoRA with the init of PiSSA is not supported")
	case o.Steps == 0 && o.Epochs == 0:
		return fmt.Errorf("neither steps nor epochs to train")
	}
	return o.Schedule.check()
}

// Limits of options, so that products of some of them with sizes of a base fit
// an int64.
const (
	maxCount = 1 << 24
	maxSteps = 1 << 31
)

// checkRanges returns which number is out of its range.
func (o *Options) checkRanges() error {
	for _, c := range []struct {
		name         string
		x, low, most float64
	}{
		{"rank", float64(o.Rank), 1, maxCount}, {"batch", float64(o.Batch), 1, maxCount}, {"accumulate", float64(o.Accumulate), 1, maxSteps},
		{"max-len", float64(o.MaxLen), 2, math.MaxInt}, {"steps", float64(o.Steps), 0, maxSteps}, {"prefix", float64(o.Prefix), 0, maxCount},
		{"infix", float64(o.Infix), 0, maxCount}, {"bottleneck", float64(o.Bottleneck), 1, maxCount},
		{"learning rate", o.LR, 0, math.MaxFloat64}, {"weight decay", o.WeightDecay, 0, math.MaxFloat64}, {"epochs", o.Epochs, 0, maxSteps},
		{"clip", o.Clip, 0, math.MaxFloat64}, {"warmup", o.Warmup, 0, maxSteps}, {"warmup share", o.WarmupShare, 0, 1},
		{"epsilon", o.Eps, 0, math.MaxFloat64}, {"lora-plus", o.LoRAPlus, 0, math.MaxFloat64},
		{"save-every", float64(o.SaveEvery), 0, math.MaxInt}, {"eval-every", float64(o.EvalEvery), 0, math.MaxInt}, {"stop-at", float64(o.StopAt), 0, math.MaxInt},
	} {
		switch {
		case !(c.x >= c.low):
			return fmt.Errorf("%s is %g, expected at least %g", c.name, c.x, c.low)
		case c.x > c.most:
			return fmt.Errorf("%s is %g, expected at most %g", c.name, c.x, c.most)
		}
	}
	for _, c := range []struct {
		name string
		x    float64
	}{{"dropout", o.Dropout}, {"label smoothing", o.Smoothing}, {"beta1", o.Beta1}, {"beta2", o.Beta2}} {
		if !(c.x >= 0 && float32(c.x) < 1) { // what is computed with
			return fmt.Errorf("%s is %g, expected a share below 1", c.name, c.x)
		}
	}
	return nil
}
