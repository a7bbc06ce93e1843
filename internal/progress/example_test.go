package progress_test

import (
	"os"

	"github.com/loratool/loratool/internal/progress"
)

// A command makes the Reporter and hands the callback to a library. Standard
// error of a test is no terminal, so that nothing is shown here.
func Example() {
	reporter := progress.New(os.Stderr, progress.Auto)
	report := reporter.Start("merge")
	report(1<<20, 1<<30)
	reporter.Done()
	// Output:
}
