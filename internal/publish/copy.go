package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// copyPiece is how many bytes are copied between two looks at the context: a
// few hundredths of a second on a fast disk.
const copyPiece = 64 << 20

// CopyFile is CopyFileContext without a context and without progress.
func CopyFile(dst, src string) (cloned bool, err error) {
	return CopyFileContext(context.Background(), dst, src, nil)
}

// CopyFileContext makes dst, which must not exist, a copy of the bytes of the
// regular file src: a clone that shares its blocks where the file system can,
// a copy inside the kernel where the system can, and a plain copy otherwise.
// It does not sync. On error dst is removed. Progress, if not nil, is called
// with the bytes of each piece; their sum is the size of the file.
func CopyFileContext(ctx context.Context, dst, src string, progress func(n int64)) (cloned bool, err error) {
	if progress == nil {
		progress = func(int64) {}
	}
	return copyFile(ctx, disk{}, dst, src, progress)
}

func copyFile(ctx context.Context, d disk, dst, src string, progress func(int64)) (cloned bool, err error) {
	in, size, err := openRegular(d, src)
	if err != nil {
		return false, err
	}
	defer in.Close()
	out, err := d.create(dst)
	if err != nil {
		return false, err
	}
	cloned, err = d.copy(ctx, out, in, size, progress)
	if closeErr := d.closeFile(out); err == nil {
		err = closeErr
	}
	if err != nil {
		out.Close()
		d.remove(dst) // best effort; the copy's error is the news
		return false, Explain(err, filepath.Dir(dst), size)
	}
	return cloned, nil
}

// openRegular opens a file for reading without waiting for a writer at the
// other end of a pipe, and refuses what is not a regular file.
func openRegular(d disk, path string) (f *os.File, size int64, err error) {
	err = d.do("open", path, func() error {
		f, err = os.OpenFile(path, os.O_RDONLY|openNonblock, 0)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%q: is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// copy clones or copies in to out and checks that size bytes arrived.
func (d disk) copy(ctx context.Context, out, in *os.File, size int64, progress func(int64)) (cloned bool, err error) {
	if d.do("clone", out.Name(), func() error { return cloneFile(out, in) }) == nil {
		progress(size)
		return true, nil
	}
	for done := int64(0); ; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		var n int64
		err := d.do("copy", out.Name(), func() error {
			n, err = io.CopyN(out, in, copyPiece) // copy_file_range between two *os.File
			return err
		})
		done += n
		progress(n)
		if errors.Is(err, io.EOF) && done == size {
			return false, nil
		}
		if errors.Is(err, io.EOF) || err == nil && done > size {
			return false, fmt.Errorf("%q: %d bytes were copied, expected %d: the file changed while it was read", in.Name(), done, size)
		}
		if err != nil {
			return false, err
		}
	}
}
