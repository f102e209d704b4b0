// Package migrate turns the files of other tools into a qsuper.yaml, and says
// what became of everything in them.
//
// It holds what all importers share: the document that is written (Document),
// the report (Report), what an instance looks like to both tools (Instance) and
// their comparison (Verify), and the frameworks whose consumers are known
// (Recognise). Each source has a package below: supervisor, crontab, magento and
// systemd read a tool's files as that tool does and fill in a Result.
package migrate

// Mode says whose arithmetic holds where the two tools differ.
type Mode string

// The two modes.
const (
	Modern Mode = "modern" // qsuper's own, each difference is listed
	Compat Mode = "compat" // that of the source, as far as qsuper can express it
)

// Result is what an importer returns.
type Result struct {
	Document *Document
	Report   *Report
	Expected []Instance // what the source's own tool would start
}
