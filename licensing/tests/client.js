// The official client from npm, unmodified, against a running service: node client.js URL USER PASSWORD
const assert = require("node:assert/strict");
const NetLicensing = require("./vendor/netlicensing-client-1.2.40.node.min.js");

const {
    Constants, Context, License, LicenseService, LicenseTemplate, LicenseTemplateService, Licensee, LicenseeService,
    Product, ProductDiscount, ProductModule, ProductModuleService, ProductService, Token, TokenService, Transaction,
    TransactionService, UtilityService, ValidationParameters,
} = NetLicensing;
const [url, username, password] = process.argv.slice(2);

async function main() {
    const vendor = new Context().setBaseUrl(url).setSecurityMode(Constants.BASIC_AUTHENTICATION)
        .setUsername(username).setPassword(password);

    // Create and change
    const product = await ProductService.create(vendor, new Product()
        .setNumber("P-JS").setName("Photo").setVersion("1").setActive(true).setProperty("color", "blue"));
    assert.equal(product.getNumber(), "P-JS");
    assert.equal(product.getProperty("color"), "blue");
    const renamed = await ProductService.update(vendor, "P-JS", product.setName("Photo 2"));
    assert.equal(renamed.getName(), "Photo 2");
    for (const [number, model] of [["M-SUB", "Subscription"], ["M-PPU", "PayPerUse"], ["M-MF", "MultiFeature"]]) {
        await ProductModuleService.create(vendor, "P-JS", new ProductModule()
            .setNumber(number).setName(model).setLicensingModel(model));
    }
    const templates = [
        ["E-SUB", "M-SUB", {licenseType: "TIMEVOLUME", timeVolume: 30, timeVolumePeriod: "DAY"}],
        ["E-PPU", "M-PPU", {licenseType: "QUANTITY", quantity: 10}],
        ["E-MF", "M-MF", {licenseType: "FEATURE", price: 5, currency: "EUR"}],
    ];
    for (const [number, module, properties] of templates) {
        const template = new LicenseTemplate({...properties, number, name: number});
        const made = await LicenseTemplateService.create(vendor, module, template);
        assert.equal(made.getNumber(), number);
    }
    const target = await LicenseeService.create(vendor, "P-JS", new Licensee().setNumber("I-MINE").setName("Ada"));
    assert.equal(target.getNumber(), "I-MINE");
    await LicenseeService.create(vendor, "P-JS", new Licensee().setNumber("I-BOUGHT"));
    const transaction = await TransactionService.create(vendor, new Transaction()
        .setNumber("T-JS").setStatus("PENDING").setSource("SHOP"));
    assert.equal(transaction.getStatus(), "PENDING");
    for (const [number] of templates) {
        await LicenseService.create(vendor, "I-BOUGHT", number, "T-JS", new License()
            .setNumber(`L-${number}`).setActive(true).setProperty("startDate", "now"));
    }
    await LicenseeService.update(vendor, "I-BOUGHT", new Licensee().setProperty("markedForTransfer", true));

    // List
    const licenses = await LicenseService.list(vendor, "licenseeNumber=I-BOUGHT");
    assert.deepEqual(licenses.getContent().map((license) => license.getNumber()), ["L-E-SUB", "L-E-PPU", "L-E-MF"]);
    assert.equal(licenses.getTotalItems(), "3");
    assert.equal(licenses.getContent()[2].getPrice(), 5);
    const page = await LicenseTemplateService.list(vendor, {productNumber: "P-JS", page: 1, items: 2});
    assert.deepEqual(page.getContent().map((template) => template.getNumber()), ["E-MF"]);
    const noted = await TransactionService.get(vendor, "T-JS");
    assert.equal(noted.getLicenseTransactionJoins().length, 3);
    assert.equal((await UtilityService.listLicenseTypes(vendor)).getContent()[0].name, "FEATURE");
    assert.equal((await UtilityService.listLicensingModels(vendor)).getContent().length, 8);
    assert.equal((await UtilityService.listCountries(vendor)).getContent().length, 249);
    assert.equal((await LicenseeService.list(vendor, "productNumber=NONE")).getContent().length, 0);

    // The customer's software has its own key
    const token = await TokenService.create(vendor, new Token()
        .setTokenType("APIKEY").setProperty("licenseeNumber", "I-MINE").setProperty("apiKeyRole", "ROLE_APIKEY_LICENSEE"));
    const customer = new Context().setBaseUrl(url).setSecurityMode(Constants.APIKEY_IDENTIFICATION)
        .setApiKey(token.getNumber());
    const validity = async () => {
        const results = await LicenseeService.validate(customer, "I-MINE", new ValidationParameters());
        assert.ok(results.getTtl() > new Date());
        return Object.fromEntries(Object.entries(results.getValidators()).map(([number, {valid}]) => [number, valid === "true"]));
    };
    const none = await validity();
    assert.deepEqual([none["M-SUB"], none["M-PPU"]], [false, false]);
    await LicenseeService.transfer(customer, "I-MINE", "I-BOUGHT");
    const all = await validity();
    assert.deepEqual([all["M-SUB"], all["M-PPU"]], [true, true]);
    const parameters = new ValidationParameters().setProductModuleValidationParameters("M-PPU", {usedQuantity: 4});
    const used = (await LicenseeService.validate(customer, "I-MINE", parameters)).getProductModuleValidation("M-PPU");
    assert.equal(used.remainingQuantity, "6");
    const moved = await LicenseService.list(vendor, {licenseeNumber: "I-MINE"});
    assert.deepEqual(moved.getContent().map((license) => license.getNumber()), ["L-E-SUB", "L-E-PPU", "L-E-MF"]);
    await assert.rejects(LicenseeService.get(customer, "I-MINE"), /Request failed|role/);

    // Delete
    await TokenService.delete(vendor, token.getNumber());
    await assert.rejects(validity());
    await assert.rejects(ProductService.delete(vendor, "P-JS", false), /in use/);
    await LicenseService.delete(vendor, "L-E-MF", false);
    await ProductService.delete(vendor, "P-JS", true);
    await assert.rejects(LicenseeService.get(vendor, "I-MINE"), /Requested licensee does not exist/);

    await checkDiscounts(vendor);
    await checkSeatsAndNodes(vendor);
}

async function checkDiscounts(vendor) {
    const read = (product) => product.getProductDiscounts().map(String);
    const made = await ProductService.create(vendor, new Product().setNumber("P-JS").setName("Photo")
        .addDiscount(new ProductDiscount({totalPrice: 100, currency: "EUR", amountPercent: 10}))
        .addDiscount(new ProductDiscount({totalPrice: 200.5, currency: "USD", amountFix: 3})));
    assert.deepEqual(read(made), ["100;EUR;10%", "200.5;USD;3"]);
    const more = await ProductService.update(vendor, "P-JS",
        made.addDiscount(new ProductDiscount({totalPrice: 300, currency: "EUR", amountFix: 4.5})));
    assert.deepEqual(read(more), ["100;EUR;10%", "200.5;USD;3", "300;EUR;4.5"]);
    assert.deepEqual(read(await ProductService.get(vendor, "P-JS")), read(more));
    assert.deepEqual(read((await ProductService.list(vendor)).getContent()[0]), read(more));
    assert.deepEqual(read(await ProductService.update(vendor, "P-JS", more.setProductDiscounts([]))), []);
    await ProductService.delete(vendor, "P-JS", true);
}

async function checkSeatsAndNodes(vendor) {
    await ProductService.create(vendor, new Product().setNumber("P-JS").setName("Photo"));
    await LicenseeService.create(vendor, "P-JS", new Licensee().setNumber("I-MINE"));
    const modules = [
        ["M-FL", "Floating", {maxCheckoutValidity: 3600}, {licenseType: "FLOATING", maxSessions: 1}],
        ["M-NL", "NodeLocked", {nodeSecretMode: "CLIENT"}, {licenseType: "QUANTITY", quantity: 1}],
    ];
    for (const [number, model, settings, terms] of modules) {
        await ProductModuleService.create(vendor, "P-JS", new ProductModule(
            {number, name: model, licensingModel: model, ...settings}));
        await LicenseTemplateService.create(vendor, number, new LicenseTemplate(
            {number: `E-${number}`, name: model, ...terms}));
        await LicenseService.create(vendor, "I-MINE", `E-${number}`, null, new License());
    }
    const validate = async (module, settings) => {
        const parameters = new ValidationParameters().setProductModuleValidationParameters(module, settings);
        return (await LicenseeService.validate(vendor, "I-MINE", parameters)).getProductModuleValidation(module).valid;
    };
    assert.equal(await validate("M-FL", {sessionId: "ada", action: "checkOut"}), "true");
    assert.equal(await validate("M-FL", {sessionId: "bob", action: "checkOut"}), "false");
    assert.equal(await validate("M-FL", {sessionId: "ada", action: "checkIn"}), "false");
    assert.equal(await validate("M-FL", {sessionId: "bob", action: "checkOut"}), "true");
    assert.equal(await validate("M-NL", {nodeSecret: "computer"}), "true");
    assert.equal(await validate("M-NL", {nodeSecret: "other"}), "false");
    await ProductService.delete(vendor, "P-JS", true);
}

main();
