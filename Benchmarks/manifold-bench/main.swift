import Glibc
import OCIModel

// Micro-benchmarks: `make bench` builds and runs them in release mode. Each line is the least CPU time of several runs, of all threads together, and what is made of it.
//   manifold-bench [NAME-PART]

let wanted = CommandLine.arguments.dropFirst().first ?? ""

func cpuSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func show(_ name: String, _ seconds: Double, _ note: String) {
  let ms = (seconds * 100_000).rounded() / 100
  print(name + String(repeating: " ", count: max(1, 40 - name.count)) + "\(ms) ms" + String(repeating: " ", count: max(1, 14 - "\(ms) ms".count)) + note)
}

/// `body` answers how many units it did; `note` makes a text of units a second.
func measure(_ name: String, runs: Int = 5, _ body: () async throws -> Double, note: (Double, Double) -> String) async throws {
  guard wanted.isEmpty || name.contains(wanted) else { return }
  var best = Double.infinity
  var units = 0.0
  for _ in 0..<runs {
    let start = cpuSeconds()
    units = try await body()
    best = min(best, cpuSeconds() - start)
  }
  show(name, best, note(units, best))
}

func rate(_ what: String) -> (Double, Double) -> String { { "\(Int($0 / $1)) \(what)/s" } }
func megabytes(_ units: Double, _ seconds: Double) -> String { "\(Int(units / seconds / 1e6)) MB/s" }

try await parserBenchmarks()
try await archiveBenchmarks()
try await solverBenchmarks()
