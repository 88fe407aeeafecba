// Reports errors with npm's raygun: report.js HOST PORT KEY MESSAGE COUNT. Prints the status that the SDK saw of each.
const raygun = require("raygun");

const [host, port, apiKey, message, count] = process.argv.slice(2);
const options = { apiKey, host, port: Number(port), useSSL: false };
const one = async (index) => {
  const client = new raygun.Client().init(options);
  const response = await client.send(new Error(`${message} ${index}`));
  console.log(response.statusCode);
};
const all = async () => {
  for (let index = 0; index < Number(count); index++) await one(index);
};
all();
