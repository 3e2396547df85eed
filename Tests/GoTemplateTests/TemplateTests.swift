import Foundation
import GoTemplate
import OCIModel
import Testing

/// Templates executed by Go's own text/template with Docker's functions (Golden/templates.json), and what Go cannot say of them.
@Suite struct TemplateTests {
  private struct Case {
    var template: String
    var data: TemplateValue
    var output: String?
    var error: String?
  }

  private static func value(_ json: JSONValue) -> TemplateValue {
    switch json {
    case .null: return .none
    case .bool(let value): return .bool(value)
    case .number(let text): return Int64(text).map { .int($0) } ?? .float(Double(text) ?? .nan)
    case .string(let text): return .string(text)
    case .array(let list): return .list(list.map(value))
    case .object(let object):
      var map: [String: TemplateValue] = [:]
      for member in object.members { map[member.key] = value(member.value) }
      return .map(map)
    }
  }

  private static func cases() throws -> [Case] {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/templates.json")
    let golden = try JSONValue(parsing: Array(try Data(contentsOf: path)))
    return try (golden["cases"]?.arrayValue ?? []).map { item in
      let name = try #require(item["data"]?.stringValue)
      return Case(
        template: try #require(item["template"]?.stringValue), data: value(try #require(golden["data"]?[name])), output: item["output"]?.stringValue,
        error: item["error"]?.stringValue)
    }
  }

  @Test func asGoHasIt() throws {
    let cases = try Self.cases()
    #expect(cases.count > 250)
    // Null and absent are one to us.
    for one in cases where one.template != "{{.None.Deep}}" {
      do {
        let output = try GoTemplate(one.template).execute(one.data)
        #expect(one.output == output, "\(one.template)\nours:   \(output)\ntheirs: \(one.output ?? one.error ?? "")")
      } catch {
        let ours = error.code == .syntax ? "syntax" : "execution"
        #expect(one.error == ours, "\(one.template)\nours:   \(error)\ntheirs: \(one.output ?? one.error ?? "")")
      }
    }
  }

  @Test func objects() throws {
    let object = TemplateValue.object(
      TemplateObject(
        type: "Descriptor",
        fields: [.init("MediaType", json: "mediaType", .string("a/b")), .init("Digest", json: "digest", .string("sha256:1")), .init("Empty", json: nil, .string(""))]))
    #expect(try GoTemplate("{{json .}}").execute(object) == #"{"mediaType":"a/b","digest":"sha256:1"}"#)
    #expect(try GoTemplate("{{.MediaType}} {{.}}").execute(object) == "a/b {a/b sha256:1 }")
    #expect(throws: TemplateError.self) { try GoTemplate("{{.mediaType}}").execute(object) }
    do { _ = try GoTemplate("one\n {{.Size}}").execute(object) } catch {
      #expect(error.description == "template, line 2, column 4: Descriptor has no field Size; it has MediaType, Digest, Empty")
    }
  }

  @Test func ownFunctions() throws {
    let template = try GoTemplate("{{twice .}}", functions: ["twice": TemplateFunction(1...1) { .string($0[0].text + $0[0].text) }])
    #expect(try template.execute(.string("ab")) == "abab")
  }

  /// A command line is the user's own, but a template must still neither crash nor run for ever.
  @Test func hostile() {
    let deep = String(repeating: "(", count: 100_000)
    let cases = [
      "{{" + deep, "{{" + deep + "1" + String(repeating: ")", count: 100_000) + "}}", String(repeating: "{{if 1}}", count: 50_000),
      #"{{define "a"}}{{template "a"}}{{end}}{{template "a"}}"#, #"{{define "a"}}{{range 1000}}{{template "a"}}{{end}}{{end}}{{template "a"}}"#,
      "{{range 10000}}{{range 10000}}{{end}}{{end}}", #"{{printf "%999999999d" 1 | len}}"#, "{{range 9999999999}}{{end}}", String(repeating: "{{if 1}}{{else ", count: 9000),
    ]
    for template in cases {
      do { #expect(try GoTemplate(template).execute(.none).utf8.count < 1 << 20, "\(template.prefix(60))") } catch { #expect(!error.message.isEmpty) }
    }
    // Every beginning of every golden template.
    for one in (try? Self.cases()) ?? [] {
      for length in 0..<one.template.count { _ = try? GoTemplate(String(one.template.prefix(length))).execute(one.data) }
    }
  }
}
