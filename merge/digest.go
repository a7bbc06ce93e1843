package merge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
)

// pieceOf returns piece i of a file.
func pieceOf(file []byte, i int) []byte {
	return file[i*record.PieceBytes : min((i+1)*record.PieceBytes, len(file))]
}

// sumPieces sums up the pieces of a mapped file on all processors.
func sumPieces(ctx context.Context, sums []record.Sum, file []byte) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	var once sync.Once
	var fault error
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			err := mmap.Guard(func() {
				for i := int(next.Add(1)) - 1; i < len(sums) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
					sums[i] = record.SumPiece(pieceOf(file, i))
				}
			})
			if err != nil {
				once.Do(func() { fault = err })
			}
		})
	}
	workers.Wait()
	return errors.Join(fault, context.Cause(ctx))
}

// adapterFiles returns the files that make an adapter, with their digests: the
// weights and the config beside them.
func adapterFiles(source string) (files []record.File, err error) {
	info, err := os.Stat(source)
	if err != nil {
		return nil, err
	}
	paths := []string{source, filepath.Join(filepath.Dir(source), dialect.ConfigName)}
	switch {
	case info.IsDir() && dialect.IsTrained(source):
		paths = []string{filepath.Join(source, dialect.TrainedWeightsName), filepath.Join(source, dialect.TrainedConfigName)}
	case info.IsDir():
		paths = []string{filepath.Join(source, dialect.WeightsName), filepath.Join(source, dialect.ConfigName)}
	}
	for i, path := range paths {
		if _, err := os.Stat(path); err != nil && i > 0 {
			continue // a dialect whose weights say everything
		}
		f, err := fileDigest(path)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// fileDigest returns the name, size and SHA-256 of a file.
func fileDigest(path string) (f record.File, err error) {
	in, _, err := safetensors.OpenRegular(path)
	if err != nil {
		return f, err
	}
	defer in.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	return record.File{Name: filepath.Base(path), Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}
