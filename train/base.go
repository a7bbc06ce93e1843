package train

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/mmap"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/internal/model"
)

// weights gives a model the tensors of a checkpoint.
type weights struct{ c *checkpoint.Checkpoint }

// guarded calls do, which reads mapped files. One that was cut off meanwhile is
// an error, not the end of the process.
func guarded(do func() error) (err error) {
	fault := mmap.Guard(func() { err = do() })
	return cmp.Or(err, fault)
}

// Tensor returns a view of a tensor.
func (w weights) Tensor(name string) (model.Stored, bool) {
	shard, t, ok := w.c.Lookup(name)
	if !ok {
		return model.Stored{}, false
	}
	return model.Stored{DType: t.DType, Shape: t.Shape, Bytes: w.c.Bytes(shard, t)}, true
}

// describe reads what config.json says of a base.
func describe(base *checkpoint.Checkpoint) (*model.Desc, error) {
	config, err := base.Config()
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, fmt.Errorf("base %s has no config.json: give the folder of a model", text.Quote(base.Dir()))
	}
	return model.Describe(config.Value)
}

// fingerprint identifies the base by the names, dtypes, shapes and digests of
// its tensors, which up to workers goroutines read.
func fingerprint(base *checkpoint.Checkpoint, workers int) string {
	names := base.Names()
	digests := make([][sha256.Size]byte, len(names))
	linalg.Parallel(workers, len(names), func(i int) {
		shard, t, _ := base.Lookup(names[i])
		digests[i] = sha256.Sum256(base.Bytes(shard, t))
	})
	h := sha256.New()
	for i, name := range names {
		_, t, _ := base.Lookup(name)
		fmt.Fprintf(h, "%q %s %v %x\n", name, t.DType, t.Shape, digests[i])
	}
	return hex.EncodeToString(h.Sum(nil))
}
