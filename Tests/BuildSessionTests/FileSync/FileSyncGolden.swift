/// What fsutil's two ends said to one another over a small tree: recorded from BuildKit's own packages. S: the end that has the files; R: the end that wants them.
enum FileSyncGolden {
  static let conversation = """
    S 122c0a05612e74787410ed8380042806309582dfaedcd38fd81752120a09757365722e6e6f7465120576616c7565
    S 12150a0364697210ed83808008309582dfaedcd38fd817
    S 121c0a056469722f6210a40318e80720e9072805309582dfaedcd38fd817
    S 12250a086469722f6c696e6b10ff8380402808309582dfaedcd38fd8173a082e2e2f612e747874
    S 12280a0a6469722f6c696e6b656410a40318e80720e9072805309582dfaedcd38fd8173a056469722f62
    S 12190a076469722f73756210ed83808008309582dfaedcd38fd817
    S 121d0a0c6469722f7375622f66696c6510a4032803309582dfaedcd38fd817
    S 121a0a096469722d616674657210a4032804309582dfaedcd38fd817
    S 12170a05656d70747910ff83c08008309582dfaedcd38fd817
    S 12180a09656d7074792e74787410a403309582dfaedcd38fd817
    S 12150a046669666f10a4838010309582dfaedcd38fd817
    S 12160a056e61ff6d6510a4032801309582dfaedcd38fd817
    S 
    R 0801
    S 0802220668656c6c6f0a
    S 0802
    R 08011802
    S 080218022205696e6e6572
    S 08021802
    R 08011806
    S 080218062203737562
    S 08021806
    R 08011807
    R 08011809
    S 08021809
    R 0801180b
    S 0802180722046c617465
    S 08021807
    S 0802180b22016e
    S 0802180b
    R 0803
    S 0803
    """

  static var packets: [(isSender: Bool, bytes: [UInt8])] {
    conversation.split(separator: "\n").map { line in
      var bytes: [UInt8] = []
      var digits = line.dropFirst(2)
      while digits.count >= 2 {
        bytes.append(UInt8(digits.prefix(2), radix: 16) ?? 0)
        digits = digits.dropFirst(2)
      }
      return (line.hasPrefix("S"), bytes)
    }
  }
}
