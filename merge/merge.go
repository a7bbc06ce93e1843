// Package merge adds LoRA adapters to a base checkpoint and writes the result.
// Every element of the output is the correctly rounded exact value of
//
//	W' = W + Σᵢ wᵢ·sᵢ·Bᵢ·Aᵢ   (Hu et al. 2021, section 4.1)
//
// with one rounding for any number of adapters, and so the same bytes on every
// machine. It prints nothing and knows no command line.
package merge

import (
	"context"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
)

// A Weighted is an adapter with the coefficient that its delta is multiplied
// with.
type Weighted struct {
	*adapter.Adapter
	Weight float64
}

// Rounding tells how exact values become values of the output's dtype.
type Rounding uint8

const (
	Nearest    Rounding = iota // to nearest, ties to even
	Stochastic                 // up or down at random so that the expectation is exact
)

// Options change what Plan makes. The zero value merges everything, keeps
// dtypes and shards, and rounds to nearest.
type Options struct {
	// DType converts every float tensor that is not FP8; 0 (BOOL) keeps dtypes.
	DType dtype.DType
	// MaxShardBytes writes new shards of at most so many bytes of tensors, 0
	// keeps the base's shards.
	MaxShardBytes int64
	Rounding      Rounding
	Seed          uint64 // of stochastic rounding
	// Skip are patterns (path.Match) of modules and tensors of the adapters
	// that are not applied.
	Skip []string
	// AddMissing adds replacement tensors that the base does not have, such as
	// a classifier, to the output.
	AddMissing bool
	// Names are rules added to the map of names on disk and in memory.
	Names adapter.Rules
	// Record is where the reversible record is written, "" for none.
	Record string
	// AllowBaseMismatch merges an adapter into another base than the one it is
	// bound to.
	AllowBaseMismatch bool
	// Force replaces an output that exists.
	Force bool
	// Progress is called from several goroutines with the bytes written since
	// the last call. May be nil.
	Progress func(bytes int64)
}

// Apply plans a merge and writes it to the path out: a file if the base is a
// file, else a folder.
func Apply(ctx context.Context, out string, base *checkpoint.Checkpoint, adapters []Weighted, o Options) (*Report, error) {
	p, err := NewPlan(base, adapters, o)
	if err != nil {
		return nil, err
	}
	return p.Write(ctx, out)
}
