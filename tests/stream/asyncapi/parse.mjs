// Prints what the official AsyncAPI parser says of a document; exits with 1 when that is an error.
import { Parser, fromFile } from '@asyncapi/parser';

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
for (const each of diagnostics) {
  console.log(['error', 'warning', 'notice', 'hint'][each.severity], each.path.join('.'), each.message);
}
if (document === undefined || diagnostics.some((each) => each.severity === 0)) {
  process.exit(1);
}
console.log(
  `AsyncAPI ${document.version()}: ${document.channels().length} channels, ` +
    `${document.operations().length} operations, ${document.allMessages().length} messages`,
);
