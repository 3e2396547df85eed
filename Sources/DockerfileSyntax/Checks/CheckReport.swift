/// All that the checks of a file found (`--call=check`), as it is printed.
package struct CheckReport: Sendable {
  package struct Entry: Sendable, Hashable {
    package var rule: String
    package var description: String
    package var url: String
    package var message: String
    package var ranges: [SourceRange]
    /// A unified diff of what to write instead.
    package var patch: String
    /// The word that it is about.
    package var focus: SourceRange?
    package init(
      rule: String, description: String = "", url: String = "", message: String, ranges: [SourceRange], patch: String = "", focus: SourceRange? = nil
    ) {
      (self.rule, self.description, self.url, self.message, self.ranges, self.patch) = (rule, description, url, message, ranges, patch)
      self.focus = focus
    }
    package init(_ finding: CheckFinding) {
      self.init(
        rule: finding.rule.name, description: finding.rule.description, url: finding.rule.url, message: finding.message, ranges: finding.ranges,
        patch: finding.patch ?? "", focus: finding.focus)
    }
  }
  /// Why the file cannot be built at all.
  package struct Failure: Sendable {
    package var message: String
    package var ranges: [SourceRange]
    /// The word at fault.
    package var focus: SourceRange?
    package init(message: String, ranges: [SourceRange], focus: SourceRange? = nil) { (self.message, self.ranges, self.focus) = (message, ranges, focus) }
  }
  package var entries: [Entry]
  package var source: String
  package var failure: Failure?
  package init(entries: [Entry], source: String, failure: Failure? = nil) { (self.entries, self.source, self.failure) = (entries, source, failure) }

  /// The findings by line, each with its lines of the file.
  package func text(fileName: String) -> String {
    let sorted = entries.enumerated().sorted { a, b in
      let (left, right) = (a.element.ranges.first?.start.line ?? 0, b.element.ranges.first?.start.line ?? 0)
      return (left, a.offset) < (right, b.offset)
    }.map(\.element)
    return sorted.map { entry in
      "\nWARNING: \(entry.rule)" + (entry.url.isEmpty ? "" : " - \(entry.url)") + "\n\(entry.message)\n"
        + (SourceExcerpt.render(source: source, fileName: fileName, ranges: entry.ranges, focus: entry.focus) ?? "") + (entry.patch.isEmpty ? "" : entry.patch)
    }.joined()
  }

  /// The mistake with its lines; nil when there is none.
  package func failureText(fileName: String) -> String? {
    failure.map { $0.message + "\n" + (SourceExcerpt.render(source: source, fileName: fileName, ranges: $0.ranges, focus: $0.focus) ?? "") }
  }
}

/// What a target takes from outside (`--call=outline`).
package struct BuildOutline: Sendable {
  package struct Argument: Sendable, Hashable {
    package var name: String, value: String, documentation: String, ranges: [SourceRange]
    package init(name: String, value: String, documentation: String, ranges: [SourceRange]) {
      (self.name, self.value, self.documentation, self.ranges) = (name, value, documentation, ranges)
    }
  }
  package struct Need: Sendable, Hashable {
    package var name: String, required: Bool, ranges: [SourceRange]
    package init(name: String, required: Bool, ranges: [SourceRange]) { (self.name, self.required, self.ranges) = (name, required, ranges) }
  }
  package var name: String, documentation: String
  package var arguments: [Argument], secrets: [Need], agents: [Need]
  package init(name: String, documentation: String, arguments: [Argument], secrets: [Need], agents: [Need]) {
    (self.name, self.documentation, self.arguments, self.secrets, self.agents) = (name, documentation, arguments, secrets, agents)
  }

  package var text: String {
    var out = ""
    if !name.isEmpty || !documentation.isEmpty {
      var rows = [["TARGET:", name.isEmpty ? "(default)" : name]]
      if !documentation.isEmpty { rows.append(["DESCRIPTION:", documentation]) }
      out += Columns.text(rows, padding: 1) + "\n"
    }
    if !arguments.isEmpty {
      out += Columns.text([["BUILD ARG", "VALUE", "DESCRIPTION"]] + arguments.map { [$0.name, $0.value, $0.documentation] }, padding: 3) + "\n"
    }
    for (title, needs) in [("SECRET", secrets), ("SSH", agents)] where !needs.isEmpty {
      out += Columns.text([[title, "REQUIRED"]] + needs.map { [$0.name, $0.required ? "true" : ""] }, padding: 3) + "\n"
    }
    return out
  }
}

extension Dockerfile {
  /// The stages that can be built (`--call=targets`), as a table.
  package var targetsText: String {
    Columns.text(
      [["TARGET", "DESCRIPTION"]]
        + stages.enumerated().map { i, stage in
          let mark = i == stages.count - 1 ? "(default)" : ""
          return [[stage.name ?? "", mark].filter { !$0.isEmpty }.joined(separator: " "), stage.documentation ?? ""]
        }, padding: 1)
  }
}

/// Columns as Go's text/tabwriter sets them: every cell but a line's last is as wide as its column's widest and a padding.
package enum Columns {
  package static func text(_ rows: [[String]], padding: Int) -> String {
    let widths = (0..<max(0, (rows.first?.count ?? 1) - 1)).map { column in (rows.map { $0[column].unicodeScalars.count }.max() ?? 0) + padding }
    return rows.map { row in
      row.enumerated().map { column, cell in
        column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.unicodeScalars.count)
      }.joined() + "\n"
    }.joined()
  }
}
