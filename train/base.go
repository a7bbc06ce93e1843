package train

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/internal/model"
)

// weights gives a model the tensors of a checkpoint.
type weights struct{ c *checkpoint.Checkpoint }

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
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(min(workers, len(names)), 1) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(names)); i = next.Add(1) - 1 {
				shard, t, _ := base.Lookup(names[i])
				digests[i] = sha256.Sum256(base.Bytes(shard, t))
			}
		})
	}
	wg.Wait()
	h := sha256.New()
	for i, name := range names {
		_, t, _ := base.Lookup(name)
		fmt.Fprintf(h, "%q %s %v %x\n", name, t.DType, t.Shape, digests[i])
	}
	return hex.EncodeToString(h.Sum(nil))
}
